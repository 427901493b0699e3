import {
  BadRequestException,
  Body,
  Controller,
  Delete,
  Get,
  HttpCode,
  NotFoundException,
  Param,
  ParseUUIDPipe,
  Post,
  UseGuards,
} from '@nestjs/common';
import { ApiBody, ApiProperty } from '@nestjs/swagger';
import { InjectRepository } from '@nestjs/typeorm';
import { ApiExpiringToken, CurrentUser, ExpiringTokenGuard, User } from 'nestjs-expiring-token';
import type { Repository } from 'typeorm';
import { Note } from './note.entity.js';

/** Maximum number of characters. The text column of every database can hold it. */
const MAX_TEXT_LENGTH = 10_000;

class NoteBody {
  @ApiProperty({ example: 'Buy milk', maxLength: MAX_TEXT_LENGTH })
  text: string;
}

@ApiExpiringToken()
@Controller('notes')
@UseGuards(ExpiringTokenGuard)
export class NotesController {
  constructor(@InjectRepository(Note) private readonly notes: Repository<Note>) {}

  @Get()
  list(@CurrentUser() user: User): Promise<Note[]> {
    return this.notes.find({ where: { ownerId: user.id }, order: { createdAt: 'DESC' } });
  }

  @Post()
  @ApiBody({ type: NoteBody })
  async create(@CurrentUser() user: User, @Body('text') text: unknown): Promise<Note> {
    checkText(text);
    const { id } = await this.notes.save({ ownerId: user.id, text, createdAt: new Date().toISOString() });
    return this.show(user, id);
  }

  @Get(':id')
  async show(@CurrentUser() user: User, @Param('id', ParseUUIDPipe) id: string): Promise<Note> {
    const note = await this.notes.findOneBy({ id, ownerId: user.id });
    return note ?? noteNotFound();
  }

  @Delete(':id')
  @HttpCode(204)
  async remove(@CurrentUser() user: User, @Param('id', ParseUUIDPipe) id: string): Promise<void> {
    const { affected } = await this.notes.delete({ id, ownerId: user.id });
    if (!affected) noteNotFound();
  }
}

/** Another user's note gets the same response as a note that does not exist, so that ids of notes cannot be probed. */
function noteNotFound(): never {
  throw new NotFoundException('Note not found');
}

function checkText(text: unknown): asserts text is string {
  if (typeof text !== 'string' || text.trim() === '' || text.length > MAX_TEXT_LENGTH || text.includes('\0')) {
    throw new BadRequestException(`text must be a string of 1 to ${MAX_TEXT_LENGTH} characters`);
  }
}
