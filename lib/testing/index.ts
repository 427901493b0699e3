export { CLOCK, type Clock } from '../expiring-token.constants.js';
export { actingAs } from './acting-as.js';
export { TestClock } from './test-clock.js';
export { ExpiringTokenTestingModule, type ExpiringTokenTestingOptions } from './testing.module.js';
export { userStoreContract, type UserStoreCheck, type UserStoreUnderTest } from './user-store-contract.js';
