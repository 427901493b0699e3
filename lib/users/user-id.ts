/** Longest user id, in characters, that fits every database's column. */
const MAX_USER_ID_LENGTH = 255;

/** What a user id must be, as the end of a sentence. */
export const USER_ID_RULE = `must be a string of 1 to ${MAX_USER_ID_LENGTH} characters without a space at its end`;

/** Whether no database could take it for another user's id, and each can hold it. */
export function isUserId(userId: unknown): userId is string {
  const fits = typeof userId === 'string' && userId !== '' && userId.length <= MAX_USER_ID_LENGTH;
  return fits && !userId.endsWith(' ') && !userId.includes('\0') && userId.isWellFormed();
}

/** Refuses what cannot be the id of a user of a `UserStore`. */
export function checkUserId(userId: unknown): asserts userId is string {
  if (!isUserId(userId)) throw new TypeError(`A user id ${USER_ID_RULE}: return one from UserStore.getId`);
}
