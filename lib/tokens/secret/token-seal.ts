import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';

/*
 * When a refresh token is rotated, its successors are kept for a moment, so that the same request gets the same answer
 * again. Only digests may be stored in the clear, so they are sealed (AES-256-GCM, NIST SP 800-38D) under a key that is
 * derived (HKDF, RFC 5869) from the presented token, of which the database knows a digest: a reader of the database
 * cannot open them, and neither can this application until the token is presented again.
 *
 *   sealed = nonce · ciphertext · tag
 */
const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const KEY_CONTEXT = 'nestjs-expiring-token successors v1';

const keyOf = (token: string) => Buffer.from(hkdfSync('sha256', token, '', KEY_CONTEXT, KEY_BYTES));

/** Hides a text from everybody who has not the token. */
export function seal(text: string, token: string): Buffer {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, keyOf(token), nonce);
  return Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
}

/**
 * The text that was sealed.
 *
 * @throws Error when it was sealed under another token, or is damaged
 */
export function open(sealed: Buffer, token: string): string {
  const end = sealed.length - TAG_BYTES;
  const decipher = createDecipheriv(CIPHER, keyOf(token), sealed.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAuthTag(sealed.subarray(end));
  return decipher.update(sealed.subarray(NONCE_BYTES, end), undefined, 'utf8') + decipher.final('utf8');
}
