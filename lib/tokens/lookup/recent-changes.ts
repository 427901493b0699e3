/**
 * Maximum number of users that are remembered. A look-up takes milliseconds, and rarely more than a few users change in that
 * time.
 */
const MAX_USERS = 2000;

/**
 * Remembers which users' tokens changed a moment ago. A look-up compares its result with this: the user of a token is known
 * only when the row arrives. If there are too many users, the earliest changes are forgotten, and count as changes of all users.
 */
export class RecentChanges {
  /** The position of the last change of each user, the earliest first. */
  private readonly positions = new Map<string, number>();
  /** Changes up to this position count for all users. */
  private allUntil = 0;
  /** How many changes there were. */
  position = 0;

  /** @param userId - whose tokens changed; null: those of any user */
  add(userId: string | null): void {
    this.position++;
    if (userId === null) {
      this.positions.clear();
      this.allUntil = this.position;
      return;
    }
    // Deleted before, so that the order of the map is that of the changes.
    this.positions.delete(userId);
    this.positions.set(userId, this.position);
    if (this.positions.size > MAX_USERS) this.forgetEarliest();
  }

  /**
   * Whether the tokens of a user may have changed since a position.
   *
   * @param userId - null if the user is unknown: then every change counts
   */
  hasSince(position: number, userId: string | null): boolean {
    if (userId === null) return this.position > position;
    return this.allUntil > position || (this.positions.get(userId) ?? 0) > position;
  }

  private forgetEarliest(): void {
    const [userId, position] = this.positions.entries().next().value!;
    this.positions.delete(userId);
    this.allUntil = position;
  }
}
