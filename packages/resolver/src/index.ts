export type * from './augment.ts'
export type { Claim, ResolverCacheOptions, Strategy, StrategyAnswer, TenantResolverOptions } from './options.ts'
export { tenantResolver as default, tenantResolver } from './plugin.ts'
export type { ResolverHealth, TenantResolver } from './resolver.ts'
