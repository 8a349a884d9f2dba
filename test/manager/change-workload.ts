// Tables with everything that makes change capture hard, and SQL that changes them in every way.
export const tables = {
  tenant: ['authors', 'posts', 'events', 'settings', 'logs', 'ticks'],
  shared: ['countries']
}

/**
 * Returns DDL with cascading deletes and key updates, unique values that swap, a trigger on
 * updates, partitions, and a table without a key.
 */
export function build (isShared: boolean): string {
  const [column, key] = isShared ? ['tenant_id text not null, ', 'tenant_id, '] : ['', '']
  return `
    create table authors (${column}id uuid, email text not null, name text, is_default boolean not null
      default false, updated_at timestamptz not null default now(), primary key (${key}id),
        unique (${key}email));
    create unique index authors_default on authors (${key}is_default) where is_default;
    create function touch () returns trigger language plpgsql as $f$
      begin new.updated_at := clock_timestamp(); return new; end $f$;
    create trigger touch before update on authors for each row execute function touch();
    create table posts (${column}id bigint generated always as identity, author uuid not null, parent bigint,
      title text not null, tags text[], data jsonb, slot int, primary key (${key}id), unique (${key}slot),
      foreign key (${key}author) references authors (${key}id) on update cascade on delete cascade,
        foreign key (${key}parent) references posts (${key}id) on delete cascade);
    create table events (${column}what text not null, country text references public.countries);
    create table settings (${column}key text, value text, primary key (${key}key));
    create table logs (${column}day date, n int, line text, primary key (${key}day, n))
      partition by range (day);
    create table logs_old partition of logs for values from (minvalue) to ('2026-01-01');
    create table logs_new partition of logs for values from ('2026-01-01') to (maxvalue);
    create table ticks (${column}at timestamptz, ratio float8, raw bytea, primary key (${key}at, ratio))`
}

/** Where a tenant's tables are, for SQL. */
export interface Place {
  readonly url: string
  readonly schema: string
  /** The tenant id, if the tables have a tenant column. */
  readonly tenant: string | undefined
}

const begin = ({ schema, tenant }: Place): string =>
  `set search_path = "${schema}"; ${tenant === undefined ? '' : `set test.tenant = '${tenant}';`}`

function inserting ({ tenant }: Place): (table: string, columns: string, rows: string) => string {
  return (table, columns, rows) =>
    `insert into ${table} (${tenant === undefined ? '' : 'tenant_id, '}${columns}) select ${
      tenant === undefined ? '' : `'${tenant}', `
    }r.* from (${rows}) r;`
}

const author = (name: string): string => `md5('${name}')::uuid`

/** Returns SQL that inserts the initial rows. */
export function fill (place: Place): string {
  const insert = inserting(place)
  return `${begin(place)}
    ${
    insert(
      'authors',
      'id, email, name, is_default',
      "select md5('a' || g)::uuid, g || '@example.com', 'author ' || g, g = 1 from generate_series(1, 40) g"
    )
  }
    ${
    insert(
      'posts',
      'author, title, tags, data, slot',
      "select md5('a' || g % 40 + 1)::uuid, 'post ' || g, array['x', null], '{\"a\": 1.10}'::jsonb, " +
        'case when g < 40 then g end from generate_series(1, 120) g'
    )
  }
    ${insert('events', 'what, country', "select 'event ' || g, 'NL' from generate_series(1, 20) g")}
    ${
    insert(
      'settings',
      'key, value',
      String.raw`select v, v from (values (E'a\nb'), ('{"\,}'), (''), ('null'), ('ключ')) v (v)`
    )
  }
    ${
    insert(
      'logs',
      'day, n, line',
      "select date '2025-12-20' + g, g, 'line ' || g from generate_series(1, 30) g"
    )
  }
    ${
    insert(
      'ticks',
      'at, ratio, raw',
      String
        .raw`select timestamptz '2026-01-01 00:00:00.000001+00' + g * interval '1 hour',
          0.1::float8 + g / 3.0::float8, decode(lpad(g::text, 2, '0'), 'hex') from generate_series(1, 20) g`
    )
  }`
}

/** Returns SQL with changes of every kind. `n` is a different number for each call. */
export function change (place: Place, n: number): string {
  const insert = inserting(place)
  const k = n % 9 + 1
  const mine = place.tenant === undefined ? '' : ` and tenant_id = '${place.tenant}'`
  return `${begin(place)}
    set timezone = 'Asia/Tokyo'; set datestyle = 'German'; set extra_float_digits = -5;
    set bytea_output = 'escape';
    begin;
    ${insert('authors', 'id, email, name', `select ${author(`new ${n}`)}, 'new ${n}@example.com', 'new'`)}
    ${
    insert(
      'posts',
      'author, title',
      `select ${author(`new ${n}`)}, 'by new ${n} ' || g from generate_series(1, 3) g`
    )
  }
    update posts set parent = (select min(id) from posts where author = ${
    author(`new ${n}`)
  }${mine}) where title = 'by new ${n} 2'${mine};
    update authors set name = name || ' ${n}' where id in (${author('a2')}, ${author(`new ${n}`)})${mine};
    update authors set is_default = false where is_default${mine}; update authors set is_default = true
      where email = '${n % 5 + 3}@example.com'${mine};
    update authors set id = md5(id::text || ${n})::uuid where email = '${10 + n % 4}@example.com'${mine};
    update posts set author = ${author('a2')} where author = ${
    author(`a${20 + k}`)
  } and title like '%5'${mine};
    delete from authors where id = ${author(`a${20 + k}`)}${mine};
    update posts set slot = null where slot = ${k}${mine}; update posts set slot = ${k} where slot = ${
    k + 20
  }${mine};
    ${
    insert('posts', 'author, title', `select ${author('a2')}, 'gone ${n}'`)
  } delete from posts where title = 'gone ${n}'${mine};
    update posts set data = data || '{"n": ${n}}', tags = tags || 'n${n}'::text where title = 'post 7'${mine};
    update settings set key = key || '${n}' where key like 'a%'${mine}; update settings set value = '${n}'
      where key = ''${mine};
    update logs set day = day + 10, line = line || '${n}' where n = ${k}${mine}; delete from logs where n = ${
    k + 12
  }${mine};
    ${insert('logs', 'day, n, line', `select date '2025-06-01', ${1_000 + n}, 'more'`)}
    update ticks set ratio = ratio + 1, raw = raw || '\\x0a'::bytea where extract(hour
      from at at time zone 'UTC') = ${k}${mine};
    delete from ticks where extract(hour from at at time zone 'UTC') = ${k + 12}${mine};
    savepoint a; ${insert('posts', 'author, title', `select ${author('a2')}, 'never ${n}'`)} rollback to a;
    savepoint b; ${insert('events', 'what, country', `select 'more ${n}', 'DE'`)} release b;
    commit;`
}

/**
 * Returns SQL for all rows of a tenant, table by table, as text that does not depend on the
 * placement.
 */
export function contents ({ schema, tenant }: Place): string {
  const mine = tenant === undefined ? '' : ` where tenant_id = '${tenant}'`
  return tables.tenant.map(table =>
    `select '${table}' as "table", (to_jsonb(r) - 'tenant_id')::text as row ` +
    `from "${schema}".${table} r${mine}`
  ).join(' union all ') + ' order by 1, 2'
}
