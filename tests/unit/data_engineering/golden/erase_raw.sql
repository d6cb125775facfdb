CREATE OR REPLACE TABLE `project.dataset.raw` AS
SELECT
  *
FROM `project`.`dataset`.`raw` AS `t0`
WHERE
  NOT (
    TO_HEX(
      SHA256(
        ARRAY_TO_STRING(
          [
            COALESCE(CAST(`t0`.`age` AS STRING), ''),
            COALESCE(CAST(`t0`.`capital_gain` AS STRING), ''),
            COALESCE(CAST(`t0`.`capital_loss` AS STRING), ''),
            COALESCE(TRIM(`t0`.`education`, ' \t\n\r\v\f'), ''),
            COALESCE(CAST(`t0`.`education_num` AS STRING), ''),
            COALESCE(CAST(`t0`.`functional_weight` AS STRING), ''),
            COALESCE(CAST(`t0`.`hours_per_week` AS STRING), ''),
            COALESCE(TRIM(`t0`.`income_bracket`, ' \t\n\r\v\f'), ''),
            COALESCE(TRIM(`t0`.`marital_status`, ' \t\n\r\v\f'), ''),
            COALESCE(TRIM(`t0`.`native_country`, ' \t\n\r\v\f'), ''),
            COALESCE(TRIM(`t0`.`occupation`, ' \t\n\r\v\f'), ''),
            COALESCE(TRIM(`t0`.`race`, ' \t\n\r\v\f'), ''),
            COALESCE(TRIM(`t0`.`relationship`, ' \t\n\r\v\f'), ''),
            COALESCE(TRIM(`t0`.`sex`, ' \t\n\r\v\f'), ''),
            COALESCE(TRIM(`t0`.`workclass`, ' \t\n\r\v\f'), '')
          ],
          '\x1f'
        )
      )
    ) IN ('0000000000000000000000000000000000000000000000000000000000000000')
  )
