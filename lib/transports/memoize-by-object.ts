/** Returns a function that calls `create` once for each key, and afterwards returns the same object for that key. */
export function memoizeByObject<T extends object>(): (key: object, create: () => T) => T {
  const objects = new WeakMap<object, T>();
  return (key, create) => {
    const existing = objects.get(key);
    if (existing) return existing;
    const created = create();
    objects.set(key, created);
    return created;
  };
}
