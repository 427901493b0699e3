import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';

/** Serves Swagger UI. A token entered under "Authorize" is sent with every request. */
export function serveDocs(app: INestApplication, path: string): void {
  const config = new DocumentBuilder().setTitle('Notes').addBearerAuth().build();
  SwaggerModule.setup(path, app, SwaggerModule.createDocument(app, config));
}
