import { Column, Entity, Index, PrimaryGeneratedColumn } from 'typeorm';

/** A note. Only its owner can read it. */
@Entity()
export class Note {
  @PrimaryGeneratedColumn('uuid')
  id: string;

  /** The id of the user who owns the note. */
  @Index()
  @Column({ select: false })
  ownerId: string;

  @Column('text')
  text: string;

  /** ISO 8601 in UTC: has the same form on every database, and sorts by time. */
  @Column({ length: 24 })
  createdAt: string;
}
