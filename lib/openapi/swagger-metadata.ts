import type { Type } from '@nestjs/common';

/**
 * The metadata keys that the decorators of `@nestjs/swagger` 11 and 12 write. This package writes them without the decorators,
 * so that `@nestjs/swagger` stays an optional package; without it, nothing reads the metadata.
 */
export const SWAGGER = {
  operation: 'swagger/apiOperation',
  parameters: 'swagger/apiParameters',
  responses: 'swagger/apiResponse',
  security: 'swagger/apiSecurity',
  tags: 'swagger/apiUseTags',
  excluded: 'swagger/apiExcludeEndpoint',
  properties: 'swagger/apiModelPropertiesArray',
  property: 'swagger/apiModelProperties',
} as const;

/** The static method that the plugin of `@nestjs/swagger` adds to a class. It returns the types of the handlers' results. */
const PLUGIN_METHOD = '_OPENAPI_METADATA_FACTORY';

/** A property of a JSON object, as OpenAPI 3.0 describes it. */
export interface ApiProperty {
  type: 'string' | 'integer' | 'boolean' | 'array';
  /** The members of an array. */
  items?: { type: 'string' };
  format?: string;
  description?: string;
  nullable?: true;
  enum?: readonly string[];
  maxLength?: number;
  minimum?: number;
  /** `true` by default. */
  required?: false;
}

/** A response, as OpenAPI 3.0 describes it. */
export interface ApiResponse {
  description: string;
  /** The model of the body. */
  type?: Type;
  isArray?: boolean;
  examples?: Record<string, { value: unknown }>;
  headers?: Record<string, { schema: { type: 'string'; example: string } }>;
}

/** Creates a class that describes a JSON object. The document shows it as a schema of this name. */
export function apiModel(name: string, properties: Record<string, ApiProperty>): Type {
  const Model = { [name]: class {} }[name]!;
  const keys = Object.keys(properties);
  Reflect.defineMetadata(
    SWAGGER.properties,
    keys.map((key) => `:${key}`),
    Model.prototype,
  );
  for (const key of keys) {
    Reflect.defineMetadata(SWAGGER.property, { required: true, ...properties[key] }, Model.prototype, key);
  }
  return Model;
}

/**
 * The response of a handler, as the plugin of `@nestjs/swagger` describes it. The description is read when the document is
 * created, because `loadPluginMetadata` may be called after the application has started.
 */
export function responseOfPlugin(controller: Type, method: string): ApiResponse {
  const readType = () => {
    const { [PLUGIN_METHOD]: describe } = controller as {
      [PLUGIN_METHOD]?: () => Record<string, { type?: Type | [Type] }>;
    };
    return describe?.()[method]?.type;
  };
  return {
    description: '',
    get type() {
      return [readType()].flat()[0];
    },
    get isArray() {
      return Array.isArray(readType());
    },
  };
}
