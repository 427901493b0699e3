import ipaddr from 'ipaddr.js';

/** A client's address, without port and zone. An IPv6 address that contains an IPv4 address is that address here. */
export interface ClientAddress {
  /** In its canonical form (RFC 5952). */
  readonly address: string;
  /**
   * The part that identifies a client: a whole IPv4 address, but only the /64 network of an IPv6 address, because one client
   * usually controls every address of its network (RFC 6177 §2).
   */
  readonly network: string;
}

/** An IPv4 address with a port, or an IPv6 address in brackets with or without one: some gateways send the port too. */
const WITH_PORT = /^(?:([\d.]+):\d{1,5}|\[([^\]]+)\](?::\d{1,5})?)$/;

/** An address with a zone and a port is shorter. A client may have sent a longer text, which is not worth the time to parse. */
const MAX_LENGTH = 100;

/**
 * Parses the address of a client.
 *
 * @param text - `request.ip` of the framework
 * @returns null for a text that is not an address
 */
export function parseClientAddress(text: string): ClientAddress | null {
  if (text.length > MAX_LENGTH) return null;
  const [, ipv4, ipv6] = WITH_PORT.exec(text) ?? [];
  const address = ipv4 ?? ipv6 ?? text;
  // Other notations of an IPv4 address, such as 127.1 or 0x7f000001, are no text that a framework or a proxy writes.
  if (ipaddr.IPv4.isValidFourPartDecimal(address)) return { address, network: address };
  if (ipv4 !== undefined || !ipaddr.IPv6.isValid(address)) return null;
  const parsed = ipaddr.IPv6.parse(address);
  // The last 32 bits are an IPv4 address in these ranges (RFC 4291 §2.5.5.2, RFC 6145 §2.2, RFC 6052 §2.1). As one network of
  // IPv6, all clients behind a translator would be one client.
  if (['ipv4Mapped', 'rfc6145', 'rfc6052'].includes(parsed.range())) {
    const embedded = new ipaddr.IPv4(parsed.toByteArray().slice(-4)).toString();
    return { address: embedded, network: embedded };
  }
  const network = new ipaddr.IPv6([...parsed.parts.slice(0, 4), 0, 0, 0, 0]);
  return { address: new ipaddr.IPv6(parsed.parts).toRFC5952String(), network: `${network.toRFC5952String()}/64` };
}
