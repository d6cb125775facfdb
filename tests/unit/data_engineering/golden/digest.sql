SELECT
  SUBSTRING(`t1`.`row`, IF((
    0 + 1
  ) >= 1, 0 + 1, 0 + 1 + LENGTH(`t1`.`row`)), 3) AS `part`,
  TO_HEX(SHA256(STRING_AGG(`t1`.`row`, ''
  ORDER BY
    `t1`.`row` ASC))) AS `digest`
FROM (
  SELECT
    TO_HEX(
      SHA256(
        ARRAY_TO_STRING(
          [
            COALESCE(`t0`.`person_id`, '\x1e'),
            COALESCE(CAST(`t0`.`age` AS STRING), '\x1e'),
            COALESCE(`t0`.`workclass`, '\x1e'),
            COALESCE(`t0`.`education`, '\x1e'),
            COALESCE(`t0`.`marital_status`, '\x1e'),
            COALESCE(`t0`.`occupation`, '\x1e'),
            COALESCE(`t0`.`race`, '\x1e'),
            COALESCE(`t0`.`sex`, '\x1e'),
            COALESCE(CAST(`t0`.`capital_gain` AS STRING), '\x1e'),
            COALESCE(CAST(`t0`.`capital_loss` AS STRING), '\x1e'),
            COALESCE(CAST(`t0`.`hours_per_week` AS STRING), '\x1e'),
            COALESCE(`t0`.`native_country`, '\x1e'),
            COALESCE(`t0`.`income_bracket`, '\x1e'),
            COALESCE(
              CAST(CAST(CASE
                WHEN `t0`.`age` <= 29
                THEN 1
                WHEN `t0`.`age` <= 39
                THEN 2
                WHEN `t0`.`age` <= 49
                THEN 3
                WHEN `t0`.`age` <= 59
                THEN 4
                ELSE 5
              END AS INT64) AS STRING),
              '\x1e'
            )
          ],
          '\x1f'
        )
      )
    ) AS `row`
  FROM `project`.`dataset`.`clean` AS `t0`
) AS `t1`
GROUP BY
  1
