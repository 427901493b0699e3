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

/** Like {@link memoizeByObject}, with two keys: both together identify the object. */
export function memoizeByPair<T extends object>(): (first: object, second: object, create: () => T) => T {
  const byFirst = memoizeByObject<ReturnType<typeof memoizeByObject<T>>>();
  return (first, second, create) => byFirst(first, memoizeByObject<T>)(second, create);
}
