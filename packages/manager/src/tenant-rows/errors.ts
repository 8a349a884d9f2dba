import { defineError, type TenancyErrorConstructor } from '@fastify-tenancy/core'

/** 409, for operators: an export cannot be written where it was asked for, or its tenant changed place meanwhile. Nothing is left behind. */
export const ExportRefusedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_EXPORT_REFUSED',
  409,
  'The export cannot be made'
)
/** 422, for operators: an export cannot be imported: it was altered, or does not fit the tables or the rows that are there. No row was written. */
export const ImportRefusedError: TenancyErrorConstructor = defineError(
  'FST_TENANCY_IMPORT_REFUSED',
  422,
  'The export cannot be imported'
)
