export type { RedisHealth, TenancyRedis } from './port.ts'
export { defineScript, type RedisScript } from './script.ts'
