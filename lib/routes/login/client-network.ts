import { isIPv6, SocketAddress } from 'node:net';

/** An IPv4 address as the sockets of IPv6 have it (RFC 4291 §2.5.5.2). */
const MAPPED = '::ffff:';

/**
 * The part of an address that stands for one client: all of an IPv4 address, the /64 of an IPv6 one, of which a single
 * client has every address (RFC 6177 §2).
 *
 * @param address - `request.ip` of the framework; what is no address stands for itself
 */
export function networkOf(address = 'unknown'): string {
  if (!isIPv6(address)) return address;
  // In one spelling, and without a zone.
  const canonical = new SocketAddress({ address, family: 'ipv6' }).address;
  if (canonical.startsWith(MAPPED) && canonical.includes('.')) return canonical.slice(MAPPED.length);
  const [left = [], right = []] = canonical.split('::').map((side) => side.split(':').filter(Boolean));
  const zeros = Array<string>(Math.max(0, 8 - left.length - right.length)).fill('0');
  return `${[...left, ...zeros, ...right].slice(0, 4).join(':')}::/64`;
}
