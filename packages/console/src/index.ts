export { default, tenancyConsole } from './plugin.ts'
export type { Authorize, Authorized, ConsoleOptions } from './options.ts'
