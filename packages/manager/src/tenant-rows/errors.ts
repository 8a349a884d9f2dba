import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core/errors'

/**
 * 409, for operators: an export cannot be written to the folder, or the tenant was moved meanwhile.
 * No files are left.
 */
export const ExportRefusedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_EXPORT_REFUSED',
  409,
  'The export cannot be made'
)
/**
 * 422, for operators: an export cannot be imported, because it was altered or does not match the
 * existing tables or rows. No row was written.
 */
export const ImportRefusedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_IMPORT_REFUSED',
  422,
  'The export cannot be imported'
)
