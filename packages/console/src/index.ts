export { default, tenancyConsole } from './plugin.ts'
export type { Authorize, ConsoleOptions } from './options.ts'
