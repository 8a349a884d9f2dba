export { type Login, type Logins, ensureLogin } from './logins.ts'
export { type Roles, rolesOf } from './roles.ts'
export { rowRole } from './row-role.ts'
export { ensureTenantRole } from './tenant-role.ts'
