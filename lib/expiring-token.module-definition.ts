import { ConfigurableModuleBuilder } from '@nestjs/common';
import { type ExpiringTokenStructuralOptions, MODULE_EXTRAS_DEFAULTS } from './expiring-token.module-options.js';
import type { ExpiringTokenOptions } from './options/expiring-token.options.js';

/**
 * The class that {@link ExpiringTokenModule} extends, the injection token of the runtime options before they are checked, and
 * the type of the parameter of `forRootAsync`.
 */
export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<ExpiringTokenOptions>({ moduleName: 'ExpiringToken' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createExpiringTokenOptions')
    .setExtras<ExpiringTokenStructuralOptions>(MODULE_EXTRAS_DEFAULTS)
    .build();
