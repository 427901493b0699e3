import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseClientAddress } from '../lib/routes/login/client-network.js';

describe('parseClientAddress', () => {
  it.each([
    ['192.0.2.1', '192.0.2.1', '192.0.2.1'],
    ['192.0.2.1:49152', '192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1', '192.0.2.1'],
    ['::FFFF:c000:201', '192.0.2.1', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1', '192.0.2.1'],
    ['[::ffff:192.0.2.1]:443', '192.0.2.1', '192.0.2.1'],
    ['::ffff:0:192.0.2.1', '192.0.2.1', '192.0.2.1'],
    ['64:ff9b::192.0.2.1', '192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['[2001:db8:1:2:3:4:5:6]', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['[2001:db8:1:2:3:4:5:6]:65535', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::', '2001:db8:1:2::', '2001:db8:1:2::/64'],
    ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1', '2001:db8::/64'],
    ['2001:db8:0:0:1::', '2001:db8:0:0:1::', '2001:db8::/64'],
    ['fe80::1%eth0', 'fe80::1', 'fe80::/64'],
    ['[fe80::1%25eth0]:80', 'fe80::1', 'fe80::/64'],
    ['::1', '::1', '::/64'],
    ['1::', '1::', '1::/64'],
  ])('reads %s as %s in %s', (text, address, network) => {
    expect(parseClientAddress(text)).toEqual({ address, network });
  });

  it.each([
    '',
    'unknown',
    'constructor',
    '_hidden:4711',
    '192.0.2',
    '192.0.2.256',
    '192.0.2.1:',
    '192.0.2.1:99999999',
    '192.0.2.1.5:80',
    '192.0.2.1, 198.51.100.1',
    '0300.0.2.1',
    '3221225985',
    '0xC0000201',
    '127.1',
    '[2001:db8::1',
    '[]:80',
    '2001:db8::1::2',
    '12345::',
    'https://192.0.2.1',
    `fe80::1%${'x'.repeat(100)}`,
  ])('does not read %j', (text) => {
    expect(parseClientAddress(text)).toBeNull();
  });

  const port = fc.integer({ min: 0, max: 65_535 });

  it('reads every IPv4 address as itself, with any port and mapped to IPv6', () => {
    fc.assert(
      fc.property(fc.ipV4(), port, (address, number) => {
        const [high, low] = [0, 2].map((at) => {
          const [one, two] = address.split('.').slice(at, at + 2) as [string, string];
          return (Number(one) * 256 + Number(two)).toString(16);
        });
        const spellings = [address, `${address}:${number}`, `::ffff:${address}`, `[::ffff:${high}:${low}]:${number}`];
        for (const spelling of spellings)
          expect(parseClientAddress(spelling), spelling).toEqual({ address, network: address });
      }),
    );
  });

  it('puts all addresses of an IPv6 network together, with any port and zone, and no others', () => {
    const group = fc.integer({ min: 0, max: 0xffff }).map((number) => number.toString(16));
    const half = fc.array(group, { minLength: 4, maxLength: 4 }).map((groups) => groups.join(':'));
    // A network above ::/64, in which IPv4-mapped addresses are.
    const networkOf = half.filter((groups) => groups !== '0:0:0:0');
    fc.assert(
      fc.property(networkOf, networkOf, half, half, port, (network, otherNetwork, host, otherHost, number) => {
        const read = (text: string) => parseClientAddress(text)!.network;
        const spellings = [
          `${network}:${otherHost}`,
          `[${network}:${host}]:${number}`,
          `${network}:${host}%eth${number}`,
          `${network}:${host}`.toUpperCase(),
          `${network}::`,
        ];
        for (const spelling of spellings) expect(read(spelling), spelling).toBe(read(`${network}:${host}`));
        const isSame = network === otherNetwork;
        expect(read(`${network}:${host}`) === read(`${otherNetwork}:${host}`)).toBe(isSame);
      }),
    );
  });

  it('reads what it returns as the same address again, and throws for no text', () => {
    const part = fc.constantFrom('.', ':', '::', '[', ']', '%', '1', '255', 'ffff', ' ', '\0', 'é', '0x', '/64');
    const text = fc.oneof(
      fc.ipV4Extended(),
      fc.ipV6(),
      fc.string({ unit: 'binary' }),
      fc.array(part).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, (value) => {
        const parsed = parseClientAddress(value);
        if (parsed) expect(parseClientAddress(parsed.address)).toEqual(parsed);
      }),
      { numRuns: 1000 },
    );
  });
});
