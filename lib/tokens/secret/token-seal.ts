import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

/*
 * When a refresh token is rotated, its successors are kept for a short time, so that a repeated request gets the same
 * response. Only digests may be stored in the clear, so the successors are sealed (AES-256-GCM, NIST SP 800-38D). The key is
 * derived (HKDF, RFC 5869) from the presented token, of which the database holds only a digest: somebody who reads the
 * database cannot open them, and neither can this application until the token is presented again.
 *
 *   sealed = nonce · ciphertext · tag
 */
const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_CONTEXT = 'nestjs-expiring-token successors v1';

const keyOf = (token: string) => Buffer.from(hkdfSync('sha256', token, '', KEY_CONTEXT, KEY_BYTES));

/** Encrypts a text so that only the holder of the token can read it. */
export function seal(text: string, token: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, keyOf(token), nonce);
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

/**
 * Decrypts what {@link seal} returned.
 *
 * @throws Error if it was sealed under another token, or is damaged
 */
export function open(sealed: Buffer, token: string): string {
  const end = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv(CIPHER, keyOf(token), sealed.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAuthTag(sealed.subarray(end));
  return decipher.update(sealed.subarray(NONCE_BYTES, end), undefined, 'utf8') + decipher.final('utf8');
}
