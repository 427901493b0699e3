import type { Type } from '@nestjs/common';

/**
 * Where `@nestjs/swagger` 11 and 12 read what their decorators wrote. Written here without them, the package needs not be
 * there: what nobody reads costs nothing.
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

/** What the plugin of `@nestjs/swagger` adds to a class: what it has seen of each method. */
const PLUGIN = '_OPENAPI_METADATA_FACTORY';

/** A property of a JSON object, as OpenAPI 3.0 describes it. */
export interface ApiProperty {
  type: 'string' | 'integer' | 'boolean';
  format?: string;
  description?: string;
  nullable?: true;
  enum?: readonly string[];
  maxLength?: number;
  minimum?: number;
  /** `true` by default. */
  required?: false;
}

/** An answer, as OpenAPI 3.0 describes it. */
export interface ApiResponse {
  description: string;
  /** Of its body. */
  type?: Type;
  isArray?: boolean;
  examples?: Record<string, { value: unknown }>;
  headers?: Record<string, { schema: { type: 'string'; example: string } }>;
}

/** A class that stands for a JSON object in the document, under this name. */
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

/** The answer of a method, as the plugin has seen it. Looked up when it is read: `loadPluginMetadata` may come later than this. */
export function seenByPlugin(controller: Type, method: string): ApiResponse {
  const typeSeen = () => {
    const { [PLUGIN]: seen } = controller as { [PLUGIN]?: () => Record<string, { type?: Type | [Type] }> };
    return seen?.()[method]?.type;
  };
  return {
    description: '',
    get type() {
      return [typeSeen()].flat()[0];
    },
    get isArray() {
      return Array.isArray(typeSeen());
    },
  };
}
