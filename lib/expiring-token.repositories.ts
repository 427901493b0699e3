import type { FactoryProvider, InjectionToken, Type } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { getRepositoryToken, TypeOrmModule } from '@nestjs/typeorm';
import type { DataSource, EntityMetadata, ObjectLiteral, Repository } from 'typeorm';
import { ExpiringTokenOptionsError } from './errors/expiring-token-options.error.js';
import { DATA_SOURCE } from './expiring-token.constants.js';
import { dependenciesOf, type NestModule, type NestProvider } from './container/container.checks.js';
import type { ResolvedModuleOptions } from './expiring-token.module-options.js';
import { entitiesOf } from './expiring-token.startup-checks.js';

// Nest makes the injection token of a repository from the name of the entity's class. An application may have entities named
// Token and User of its own, and a module that imports both packages then receives the repository that it finds first.

/** The entities of the module by the injection tokens of their repositories. */
const entitiesByToken = (extras: ResolvedModuleOptions): [token: InjectionToken, entity: Type][] =>
  Object.values(entitiesOf(extras)).map((entity) => [getRepositoryToken(entity, extras.dataSource), entity]);

/** The injection tokens of the repositories, for `@InjectRepository()`. */
export const repositoryTokens = (extras: ResolvedModuleOptions): InjectionToken[] =>
  entitiesByToken(extras).map(([token]) => token);

/** The repositories that `@InjectRepository()` injects, as `TypeOrmModule.forFeature()` would provide them. */
export function repositoryProviders(extras: ResolvedModuleOptions): FactoryProvider[] {
  // The call registers the entities for autoLoadEntities. Its providers are not used, because without a data source they would
  // fail before this module can report what is missing.
  TypeOrmModule.forFeature(Object.values(entitiesOf(extras)), extras.dataSource);
  return entitiesByToken(extras).map(([provide, entity]) => ({
    provide,
    useFactory: (dataSource: DataSource, modules: ModulesContainer) => {
      const namesake = findNamesake(modules, dataSource, provide, entity);
      return namesake ? repositoryOf(dataSource, namesake) : dataSource.getRepository(entity);
    },
    inject: [DATA_SOURCE, ModulesContainer],
  }));
}

/**
 * Checks that a module of the application that injects a repository under a name of this package means the entity that it
 * receives. It can mean the entity of this package, although the name belongs to an entity of the application.
 *
 * @throws ExpiringTokenOptionsError that names both entities
 */
export function checkRepositories(modules: ModulesContainer, own: NestModule, extras: ResolvedModuleOptions): void {
  for (const [token, entity] of entitiesByToken(extras)) {
    const provider = own.providers.get(token)!;
    const injected = metadataOf(provider);
    // A test may have replaced the repository by another object.
    if (!injected || injected.target === entity) continue;
    for (const module of modules.values()) {
      const consumer = consumersOf(module).find((candidate) => dependenciesOf(candidate).includes(provider));
      if (!consumer) continue;
      const others = [...module.imports]
        .filter((imported) => imported !== own)
        .flatMap((imported) => exported(imported, token));
      if (others.length > 0 && others.every((other) => metadataOf(other) === injected)) continue;
      throw new ExpiringTokenOptionsError(
        'imports',
        `${String(consumer.name)} injects the repository of an entity ${entity.name}, but there are two: one of nestjs-expiring-token, and one of the application with the table ${injected.tableName}`,
        `Inject the data source instead, and call its getRepository(${entity.name}).`,
      );
    }
  }
}

/** The metadata of the entity whose repository a provider gives. */
const metadataOf = ({ instance }: NestProvider): EntityMetadata | undefined =>
  (instance as Partial<Repository<ObjectLiteral>> | undefined)?.metadata;

const consumersOf = ({ providers, controllers, injectables }: NestModule): NestProvider[] => [
  ...providers.values(),
  ...controllers.values(),
  ...injectables.values(),
];

/** The providers of a token that a module makes available to the modules that import it. */
function exported(module: NestModule, token: InjectionToken): NestProvider[] {
  const provider = module.exports.has(token) ? module.providers.get(token) : undefined;
  const reexported = [...module.imports].filter(({ metatype }) => module.exports.has(metatype));
  return [...(provider ? [provider] : []), ...reexported.flatMap((inner) => exported(inner, token))];
}

/**
 * Returns the entity of the application that has the name of an entity of this package. It counts if another module provides
 * its repository; the data source can know entities of other applications in the same process.
 */
function findNamesake(modules: ModulesContainer, dataSource: DataSource, token: InjectionToken, entity: Type) {
  const providers = [...modules.values()].filter((module) => module.providers.has(token));
  if (providers.length === 1) return undefined;
  // An entity with the same table is that of another copy of this package.
  const { tableName } = dataSource.getMetadata(entity);
  return dataSource.entityMetadatas.find(
    (metadata) => nameOf(metadata) === entity.name && metadata.target !== entity && metadata.tableName !== tableName,
  );
}

const nameOf = ({ target }: EntityMetadata): string => (typeof target === 'string' ? target : target.name);

const repositoryOf = (dataSource: DataSource, { treeType, target }: EntityMetadata): Repository<ObjectLiteral> =>
  treeType ? dataSource.getTreeRepository(target) : dataSource.getRepository(target);
