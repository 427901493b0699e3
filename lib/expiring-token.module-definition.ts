import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { ExpiringTokenOptions, ExpiringTokenStructuralOptions } from './expiring-token.options.js';
import { STRUCTURE } from './expiring-token.resolved-options.js';

/** The class that {@link ExpiringTokenModule} extends, and the injection token of the options as the application gave them. */
export const { ConfigurableModuleClass, MODULE_OPTIONS_TOKEN, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<ExpiringTokenOptions>({ moduleName: 'ExpiringToken' })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createExpiringTokenOptions')
    .setExtras<ExpiringTokenStructuralOptions>(STRUCTURE)
    .build();
