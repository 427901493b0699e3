import { inspect } from 'node:util';

/**
 * Class decorator: `util.inspect` shows only the class name of an instance. Injected members lead to the data source and its
 * password, which a logger that receives the instance would print.
 */
export const HideFromInspect = (): ClassDecorator => (target) => {
  Object.defineProperty(target.prototype, inspect.custom, {
    value(this: object) {
      return `${this.constructor.name} {}`;
    },
  });
};
