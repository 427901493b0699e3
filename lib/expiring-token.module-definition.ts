import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { ExpiringTokenOptions } from './options/expiring-token.options.js';
import type { ExpiringTokenStructuralOptions } from './expiring-token.module-options.js';
import { MODULE_EXTRAS_DEFAULTS } from './expiring-token.module-options.js';

/** What {@link ExpiringTokenModule} extends, the token of the options as they were given, the type of `forRootAsync`'s. */
export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<ExpiringTokenOptions>({ moduleName: 'ExpiringToken' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createExpiringTokenOptions')
    .setExtras<ExpiringTokenStructuralOptions>(MODULE_EXTRAS_DEFAULTS)
    .build();
