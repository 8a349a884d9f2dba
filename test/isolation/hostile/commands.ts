// What code of the application may do to its session: commands that PL/pgSQL runs, with the effects
// that the manual names.
import fc from 'fast-check'

const settings: readonly (readonly [name: string, ...values: string[]])[] = [
  ['TimeZone', 'Asia/Tokyo', 'UTC-7'],
  ['DateStyle', 'German, DMY', 'SQL, MDY'],
  ['IntervalStyle', 'iso_8601', 'sql_standard'],
  ['bytea_output', 'escape'],
  ['extra_float_digits', '-5'],
  ['xmloption', 'document'],
  ['xmlbinary', 'hex'],
  ['statement_timeout', '1', '60000'],
  ['lock_timeout', '1'],
  ['idle_in_transaction_session_timeout', '1'],
  ['search_path', 'pg_temp, public', 'pg_catalog', '"$user"'],
  ['role', 'none'],
  ['row_security', 'off'],
  ['default_transaction_read_only', 'on'],
  ['default_transaction_isolation', 'serializable'],
  ['default_transaction_deferrable', 'on'],
  ['transform_null_equals', 'on'],
  ['array_nulls', 'off'],
  ['standard_conforming_strings', 'off'],
  ['backslash_quote', 'on'],
  ['escape_string_warning', 'off'],
  ['quote_all_identifiers', 'on'],
  ['plan_cache_mode', 'force_generic_plan'],
  ['enable_seqscan', 'off'],
  ['work_mem', '64'],
  ['random_page_cost', '400'],
  ['from_collapse_limit', '1'],
  ['geqo_seed', '0.3'],
  ['client_min_messages', 'error'],
  ['application_name', 'left_behind'],
  ['constraint_exclusion', 'off'],
  ['default_text_search_config', 'pg_catalog.german'],
  ['lc_monetary', 'C'],
  ['check_function_bodies', 'off'],
  ['app.mark', 'left'],
  ['tenancy.tenant', 'acme'],
  ['tenancy.token', 'left'],
  ['pg_trgm.similarity_threshold', '0.9'],
  ['synchronous_commit', 'off'],
  ['gin_fuzzy_search_limit', '1'],
  ['tcp_keepalives_idle', '7'],
  ['vacuum_cost_delay', '9']
]

const quote = (text: string): string => `'${text.replaceAll("'", "''")}'`

const setting = fc.constantFrom(...settings).chain(([name, ...values]) =>
  fc.record({
    value: fc.constantFrom(...values),
    form: fc.constantFrom('set', 'set session', 'set_config', 'pg_settings')
  }).map(({ value, form }) => {
    if (form === 'set_config') return `select set_config(${quote(name)}, ${quote(value)}, false)`
    if (form === 'pg_settings')
      return `update pg_settings set setting = ${quote(value)} where name = ${quote(name)}`
    // A list of names is written without quotes round the whole.
    const isList = name === 'search_path' || name === 'DateStyle'
    return `${form} ${name} = ${isList ? value : quote(value)}`
  })
)

const name = fc.constantFrom('left_behind', 'notes', 'children', 't_1')

const others = fc.oneof(
  name.map(name => `prepare ${name} as select 1::int as id, 'planted'::text as body`),
  fc.constantFrom(
    'deallocate all',
    'discard plans',
    'discard sequences',
    'reset all',
    'reset role',
    'close all',
    'unlisten *'
  ),
  // Prepares another text under each name that the driver uses.
  fc.constant(`do $do$ declare name text; begin
    for name in select p.name from pg_prepared_statements p loop
      execute format('deallocate %I', name);
      execute format('prepare %I as select 1::int as id, ''planted'' as body', name);
    end loop; end $do$`),
  fc.record({ name, what: fc.constantFrom('table', 'view', 'sequence') }).map(({ name, what }) =>
    what === 'table' ?
      `create temporary table ${name} (tenant_id text, id int, body text, n int)`
      : what === 'view' ?
      `create temporary view ${name} as select 'globex'::text as tenant_id, 1 as id, 'planted'::text as
        body, 0 as n`
      : `create temporary sequence ${name}`
  ),
  fc.constant(
    "create temporary table notes as select 'globex'::text as tenant_id, 1 as id, 'planted'::text " +
      'as body, 0 as n'
  ),
  fc.constantFrom(
    "create function pg_temp.lower (text) returns text language sql as $f$ select 'planted' $f$",
    'create temporary table many as select generate_series(1, 10) as i; analyze many'
  ),
  fc.constantFrom('listen left_behind', "notify left_behind, 'x'", 'listen tenancy'),
  fc.record({ key: fc.integer({ min: 1, max: 9 }), form: fc.constantFrom('lock', 'lock_shared') })
    .map(({ key, form }) => `select pg_advisory_${form}(${key})`),
  fc.constantFrom(
    'select setseed(0.5)',
    "select nextval('drawn')",
    "select nextval('notes_id_seq')",
    'select lastval()'
  ),
  fc.constant("declare left_behind cursor with hold for select 'left'"),
  fc.constantFrom(
    'set session characteristics as transaction read only',
    'set session characteristics as transaction isolation level serializable',
    'set constraints all deferred',
    'set transaction read only',
    "load 'pg_trgm'",
    'set session authorization default'
  )
)

/** One to three commands, run one after the other. */
export const commands: fc.Arbitrary<string> = fc.array(fc.oneof(setting, others), {
  minLength: 1,
  maxLength: 3
})
  .map(list => list.join('; '))
