/**
 * The functions that a rewritten query may call. Their result depends only on their arguments, the
 * clock or a random source. None takes a table name or SQL text, changes a setting, takes a lock,
 * advances a sequence, waits, or reveals facts about the server.
 */
export const defaultFunctions: readonly string[] = words(`
  coalesce nullif greatest least any all some num_nulls num_nonnulls

  count sum avg min max bool_and bool_or every bit_and bit_or bit_xor any_value array_agg string_agg
  json_agg jsonb_agg json_object_agg jsonb_object_agg range_agg
  stddev stddev_pop stddev_samp variance var_pop var_samp corr covar_pop covar_samp regr_slope
  regr_intercept regr_r2 regr_count
  mode percentile_cont percentile_disc grouping
  row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value

  abs ceil ceiling floor round trunc sign mod div power sqrt cbrt exp ln log log10 pi degrees radians
  sin cos tan cot asin acos atan atan2 width_bucket gcd lcm random scale trim_scale min_scale

  lower upper initcap length char_length character_length octet_length bit_length concat concat_ws substr
  substring left right
  lpad rpad trim btrim ltrim rtrim replace translate reverse repeat strpos position overlay split_part
  starts_with
  string_to_array string_to_table array_to_string format quote_literal quote_ident quote_nullable
  regexp_replace regexp_match regexp_matches regexp_like regexp_count regexp_instr regexp_substr
  regexp_split_to_array regexp_split_to_table
  ascii chr encode decode md5 sha224 sha256 sha384 sha512 to_hex normalize unistr

  now clock_timestamp statement_timestamp transaction_timestamp timeofday date_trunc date_part date_bin
  age isfinite
  to_char to_date to_timestamp to_number make_date make_time make_timestamp make_timestamptz make_interval
  justify_days justify_hours justify_interval timezone
  gen_random_uuid uuidv4 uuidv7 uuid_extract_timestamp uuid_extract_version

  array_append array_prepend array_cat array_remove array_replace array_length array_ndims array_dims
  array_lower array_upper
  array_position array_positions array_fill cardinality unnest generate_series generate_subscripts
  isempty lower_inc upper_inc lower_inf upper_inf range_merge
  int4range int8range numrange tsrange tstzrange daterange

  to_json to_jsonb row_to_json array_to_json json_build_object jsonb_build_object json_build_array
  jsonb_build_array
  json_object jsonb_object json_array_length jsonb_array_length json_typeof jsonb_typeof json_strip_nulls
  jsonb_strip_nulls
  json_array_elements jsonb_array_elements json_array_elements_text jsonb_array_elements_text
  json_each jsonb_each json_each_text jsonb_each_text json_object_keys jsonb_object_keys
  json_extract_path jsonb_extract_path json_extract_path_text jsonb_extract_path_text
  jsonb_set jsonb_set_lax jsonb_insert jsonb_pretty jsonb_path_exists jsonb_path_match jsonb_path_query
  jsonb_path_query_array jsonb_path_query_first

  to_tsvector to_tsquery plainto_tsquery phraseto_tsquery websearch_to_tsquery ts_rank ts_rank_cd
  ts_headline setweight strip numnode tsvector_to_array

  merge_action
`)

function words (text: string): readonly string[] {
  return Object.freeze(text.trim().split(/\s+/))
}
