import { createSecretKey, randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { JwtModule, JwtService } from '@nestjs/jwt';
import { AuthGuard, PassportModule, PassportStrategy } from '@nestjs/passport';
import { ExtractJwt, Strategy } from 'passport-jwt';
import { bearer, type Contestant } from './contestant.js';
import { guardedBy } from './me.controller.js';

const SECRET = 'a secret of at least 32 bytes, as HS256 requires';

interface Payload {
  sub: string;
  username: string;
}

/** HS256 as in the Nest documentation: no look-up, so tokens cannot be revoked. */
function passportJwt(secretOrKey: string): Contestant {
  @Injectable()
  class JwtStrategy extends PassportStrategy(Strategy) {
    constructor() {
      super({ jwtFromRequest: ExtractJwt.fromAuthHeaderAsBearerToken(), ignoreExpiration: false, secretOrKey });
    }

    validate(payload: Payload) {
      return { id: payload.sub, username: payload.username };
    }
  }

  return {
    module: {
      imports: [PassportModule, JwtModule.register({ secret: SECRET, signOptions: { expiresIn: '30d' } })],
      controllers: [guardedBy(AuthGuard('jwt'))],
      providers: [JwtStrategy],
    },
    async logIn(app, userCount) {
      const jwt = app.get(JwtService);
      const valid = Array.from({ length: userCount }, (_, index) => {
        const payload: Payload = { sub: randomUUID(), username: `user-${index}` };
        return { userId: payload.sub, credential: bearer(jwt.sign(payload)) };
      });
      return {
        valid,
        invalid: bearer(jwt.sign({ sub: randomUUID() }, { secret: 'a different secret of another application' })),
      };
    },
  };
}

export const documentedJwt = (): Contestant => passportJwt(SECRET);

/**
 * `jsonwebtoken` first tries to parse a string as a public key, which fails and costs time. It uses a secret `KeyObject`
 * directly.
 */
export const tunedJwt = (): Contestant => {
  // The types of passport-jwt allow only strings, but a KeyObject works.
  const key: unknown = createSecretKey(Buffer.from(SECRET));
  return passportJwt(key as string);
};
