/** Longest user id, in characters, that fits every database's column. */
const LONGEST_USER_ID = 255;

/** Refuses what a database could take for another user's id, or cannot hold. */
export function checkUserId(userId: unknown): asserts userId is string {
  const fits = typeof userId === 'string' && userId !== '' && userId.length <= LONGEST_USER_ID;
  if (!fits || userId.endsWith(' ') || userId.includes('\0') || !userId.isWellFormed()) {
    throw new TypeError(
      `A user id must be a string of 1 to ${LONGEST_USER_ID} characters without a space at its end: return one from UserStore.getId.`,
    );
  }
}
