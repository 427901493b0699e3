import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';

/** Serves Swagger UI. A token entered under "Authorize" is sent with every request. */
export function serveDocs(app: INestApplication, path: string): void {
  const config = new DocumentBuilder()
    .setTitle('Notes')
    .addSecurity('bearer', { type: 'http', scheme: 'bearer' })
    .addSecurityRequirements('bearer')
    .build();
  const document = SwaggerModule.createDocument(app, config);
  // The package reads these bodies itself, so that Swagger cannot see them.
  const bodies = {
    login: ['username', 'password'],
    'obtain-token': ['username', 'password'],
    refresh: ['refreshToken'],
  };
  for (const [route, fields] of Object.entries(bodies)) {
    document.paths[`/auth/${route}`]!.post!.requestBody = jsonBody(fields);
  }
  document.paths['/auth/devices/{id}']!.patch!.requestBody = jsonBody(['name']);
  SwaggerModule.setup(path, app, document);
}

function jsonBody(required: string[]) {
  const properties = Object.fromEntries(required.map((field) => [field, { type: 'string' }]));
  return { required: true, content: { 'application/json': { schema: { type: 'object', required, properties } } } };
}
