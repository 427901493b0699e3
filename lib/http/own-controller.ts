import type { Type } from '@nestjs/common';
import { SWAGGER } from './api-metadata.js';

/**
 * A controller as one application has it: with handlers of its own, so that two applications of one process can be
 * documented each as its options say.
 */
export function ownController(Shared: Type): Type {
  const Own = { [Shared.name]: class extends Shared {} }[Shared.name]!;
  for (const name of Object.getOwnPropertyNames(Shared.prototype)) {
    if (name === 'constructor') continue;
    const shared: (this: unknown, ...parameters: unknown[]) => unknown = Shared.prototype[name];
    const { [name]: own } = {
      [name](this: unknown, ...parameters: unknown[]) {
        return shared.apply(this, parameters);
      },
    };
    for (const key of Reflect.getMetadataKeys(shared)) {
      Reflect.defineMetadata(key, Reflect.getMetadata(key, shared), own!);
    }
    Own.prototype[name] = own;
  }
  Reflect.defineMetadata(SWAGGER.tags, ['Authentication'], Own);
  return Own;
}
