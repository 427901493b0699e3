import { inspect } from 'node:util';

/**
 * Class decorator: an instance is shown as its name alone. What is injected into it leads to the password of the database,
 * and a logger or a debugger that is handed the instance shows all that it leads to.
 */
export const HideFromInspect = (): ClassDecorator => (target) => {
  Object.defineProperty(target.prototype, inspect.custom, {
    value(this: object) {
      return `${this.constructor.name} {}`;
    },
  });
};
