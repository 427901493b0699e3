import { Column, Entity, Index, PrimaryGeneratedColumn } from 'typeorm';

/** A note, which nobody but its owner sees. */
@Entity()
export class Note {
  @PrimaryGeneratedColumn('uuid')
  id: string;

  /** The id of the user. */
  @Index()
  @Column({ select: false })
  ownerId: string;

  @Column('text')
  text: string;

  /** ISO 8601 in UTC: the same on every database, and sorted by time. */
  @Column({ length: 24 })
  createdAt: string;
}
