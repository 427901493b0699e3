import { randomBytes, randomUUID } from 'node:crypto';
import { Injectable, UnauthorizedException } from '@nestjs/common';
import { AuthGuard, PassportModule, PassportStrategy } from '@nestjs/passport';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { Strategy } from 'passport-http-bearer';
import { Column, DataSource, Entity, ManyToOne, PrimaryColumn, type Relation, type Repository } from 'typeorm';
import { bearer, type Contestant, type Setting } from './contestant.js';
import { guardedBy } from './me.controller.js';

const LIFESPAN_MS = 30 * 86_400_000;

@Entity()
class NaiveUser {
  @PrimaryColumn('uuid')
  id: string;

  @Column({ unique: true })
  username: string;

  @Column({ default: true })
  active: boolean;
}

@Entity()
class NaiveToken {
  @PrimaryColumn({ length: 40 })
  key: string;

  @ManyToOne(() => NaiveUser)
  user: Relation<NaiveUser>;

  @Column()
  created: Date;
}

@Injectable()
class TokenStrategy extends PassportStrategy(Strategy) {
  constructor(@InjectRepository(NaiveToken) private readonly tokens: Repository<NaiveToken>) {
    super();
  }

  async validate(key: string): Promise<NaiveUser> {
    const token = await this.tokens.findOne({ where: { key }, relations: { user: true } });
    if (!token?.user.active || token.created.getTime() + LIFESPAN_MS <= Date.now()) throw new UnauthorizedException();
    return token.user;
  }
}

const generateKey = () => randomBytes(20).toString('hex');

/** A direct port of the expiring token tutorial for Django REST framework to Nest, Passport and TypeORM. */
export const naivePort = ({ postgresUrl }: Setting): Contestant => ({
  module: {
    imports: [
      TypeOrmModule.forRoot({ type: 'postgres', url: postgresUrl, autoLoadEntities: true, synchronize: true }),
      TypeOrmModule.forFeature([NaiveUser, NaiveToken]),
      PassportModule,
    ],
    controllers: [guardedBy(AuthGuard('bearer'))],
    providers: [TokenStrategy],
  },
  async logIn(app, userCount) {
    const { manager } = app.get(DataSource);
    const users = Array.from({ length: userCount }, (_, index) => ({ id: randomUUID(), username: `user-${index}` }));
    const tokens = users.map((user) => ({ key: generateKey(), user, created: new Date() }));
    await manager.insert(NaiveUser, users);
    await manager.insert(NaiveToken, tokens);
    return {
      valid: tokens.map(({ key, user }) => ({ userId: user.id, credential: bearer(key) })),
      invalid: bearer(generateKey()),
    };
  },
});
