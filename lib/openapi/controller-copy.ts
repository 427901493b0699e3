import type { Type } from '@nestjs/common';
import { SWAGGER } from './swagger-metadata.js';

type Handler = (this: unknown, ...parameters: unknown[]) => unknown;

/** Gives a controller a handler of its own, which does what the one does that it inherits, and can be documented otherwise. */
export function ownHandler({ prototype }: Type, name: string): Handler {
  const inherited: Handler = prototype[name];
  const { [name]: own } = {
    [name](this: unknown, ...parameters: unknown[]) {
      return inherited.apply(this, parameters);
    },
  };
  for (const key of Reflect.getMetadataKeys(inherited)) {
    Reflect.defineMetadata(key, Reflect.getMetadata(key, inherited), own!);
  }
  prototype[name] = own;
  return own!;
}

/**
 * A controller as one application has it: with handlers of its own, so that two applications of one process can be
 * documented each as its options say.
 */
export function ownController(Shared: Type): Type {
  const Own = { [Shared.name]: class extends Shared {} }[Shared.name]!;
  for (const name of Object.getOwnPropertyNames(Shared.prototype)) {
    if (name !== 'constructor') ownHandler(Own, name);
  }
  Reflect.defineMetadata(SWAGGER.tags, ['Authentication'], Own);
  return Own;
}
