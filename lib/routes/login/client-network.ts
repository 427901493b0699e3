import { isIPv6, SocketAddress } from 'node:net';

/** Prefix of an IPv4 address that an IPv6 socket reports (RFC 4291 §2.5.5.2). */
const IPV4_MAPPED = '::ffff:';

/**
 * Returns the part of an address that identifies a client: a whole IPv4 address, but only the /64 network of an IPv6 address,
 * because one client usually controls every address of its network (RFC 6177 §2).
 *
 * @param address - `request.ip` of the framework. A value that is not an address is returned unchanged
 */
export function networkOf(address = 'unknown'): string {
  if (!isIPv6(address)) return address;
  // The canonical spelling, without a zone.
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address;
  if (canonical.startsWith(IPV4_MAPPED) && canonical.includes('.')) return canonical.slice(IPV4_MAPPED.length);
  const [left = [], right = []] = canonical.split('::').map((side) => side.split(':').filter(Boolean));
  const zeros = Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  return `${[...left, ...zeros, ...right].slice(0, 4).join(':')}::/64`;
}
