import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import { describe, expect, it } from 'vitest';
import { generateToken } from '../lib/tokens/secret/token-secret.js';
import { findSecrets, PASSWORD } from './fixtures/captured-output.js';

describe('The search for secrets in all output of the tests', () => {
  const token = generateToken('ext_', '0190a0b0-0000-7000-8000-000000000000');
  const digest = createHash('sha256').update(token).digest();
  const digests = new Set([digest.toString('hex')]);

  it.each([
    ['a token', `Authorization: Bearer ${token}`],
    ['a password', `{"password":"${PASSWORD}"}`],
    ['the hash of one', '$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA'],
    ['a digest in hexadecimal', `digest=\\x${digest.toString('hex')}`.replace('\\x', ' ')],
    ['a digest in Base64', `"${digest.toString('base64')}"`],
    ['a digest in Base64 for URLs', digest.toString('base64url')],
    ['a digest in a buffer', inspect({ parameters: [digest] })],
    ['a digest in JSON', JSON.stringify(digest)],
  ])('finds %s', (_, text) => {
    expect(findSecrets(`before ${text} after`, digests)).toHaveLength(1);
  });

  it('takes no other text for a secret', () => {
    const other = createHash('sha256').update('other').digest();
    const text = [other.toString('hex'), other.toString('base64'), inspect(other), token.slice(0, 40)].join('\n');
    expect(findSecrets(text, digests)).toEqual([]);
  });
});
