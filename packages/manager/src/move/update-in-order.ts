import { quoteName, quoteText } from '@fastify-tenancy/postgres/client'

import { fromOf, rowsOf } from '../tenant-rows/tables.ts'
import { changedRow, type TablePair } from './changed-row.ts'
import type { CopyEndpoint } from './copy-endpoints.ts'

/** Rows that wait for each other in a row of thousands would be tried thousands of times each. What is left then is copied with all the rest. */
const passes = 20

/**
 * The statement that updates, one by one, those changed rows of a table that may not leave it for a moment, for as long as one more can be: of two
 * rows that share a unique value in turn (`is_default`), the one that gives it up comes before the one that gets it. What needs rows that
 * are not there yet is left as it is.
 */
export function updateInOrder ({ placement, tables }: CopyEndpoint, both: TablePair): string {
  const { table } = both
  const key = table.keys.find(({ isPrimary }) => isPrimary)?.columns ?? []
  const set = table.columns.filter(({ name, isFixed }) => !isFixed && !key.includes(name))
  if (set.length === 0) return 'select'
  const own = `c.tab = ${quoteText(table.name)} and c.line is not null`
  const record = set.map(({ name, type, isJson }) => `${quoteName(name)} ${isJson ? 'text' : type}`)
  const values = set.map(({ name, type, isJson }) =>
    `${quoteName(name)} = r.${quoteName(name)}${isJson ? `::${type}` : ''}`
  )
  // With the block's label, the variables are none of the table's columns.
  const body = `
<<hand_over>>
declare
  todo int[] := array(select n from pg_temp.changed c where ${own} order by n);
  stuck int[];
  next int;
begin
  for pass in 1..${passes} loop
    stuck := '{}';
    foreach next in array todo loop
      begin
        update ${fromOf(placement, table)} t set ${
    values.join(', ')
  } from pg_temp.changed c, pg_catalog.json_to_record(c.line::json) r (${record.join(', ')})
        where c.n = hand_over.next and ${changedRow(both)} and ${rowsOf(placement, tables, table)};
      exception when unique_violation or exclusion_violation or foreign_key_violation then
        stuck := stuck || next;
      end;
    end loop;
    exit when cardinality(stuck) in (0, cardinality(todo));
    todo := stuck;
  end loop;
end`
  return `do ${quoteText(body)}`
}
