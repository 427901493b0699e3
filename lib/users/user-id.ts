/** Maximum length of a user id, in characters: it fits the column of every database. */
const MAX_USER_ID_LENGTH = 255;

/** The rule for user ids, as the end of a sentence. */
export const USER_ID_RULE = `must be a string of 1 to ${MAX_USER_ID_LENGTH} characters without a space at its end`;

/** Whether every database can store a value as user id, and none confuses it with another id. */
export function isUserId(userId: unknown): userId is string {
  const fits = typeof userId === 'string' && userId !== '' && userId.length <= MAX_USER_ID_LENGTH;
  return fits && !userId.endsWith(' ') && !userId.includes('\0') && userId.isWellFormed();
}

/** @throws TypeError if a value cannot be a user id, for example because `UserStore.getId` returned something else */
export function checkUserId(userId: unknown): asserts userId is string {
  if (!isUserId(userId)) throw new TypeError(`A user id ${USER_ID_RULE}: return one from UserStore.getId`);
}
