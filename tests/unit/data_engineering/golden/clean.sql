SELECT
  CONCAT(CONCAT(`t4`.`digest`, '-'), CAST(`t4`.`number` + 1 AS STRING)) AS `person_id`,
  `t4`.`age`,
  IF(`t4`.`workclass` = '?', 'Unknown', `t4`.`workclass`) AS `workclass`,
  `t4`.`education`,
  `t4`.`marital_status`,
  IF(`t4`.`occupation` = '?', 'Unknown', `t4`.`occupation`) AS `occupation`,
  `t4`.`race`,
  `t4`.`sex`,
  `t4`.`capital_gain`,
  `t4`.`capital_loss`,
  `t4`.`hours_per_week`,
  IF(`t4`.`native_country` = '?', 'Unknown', `t4`.`native_country`) AS `native_country`,
  `t4`.`income_bracket`
FROM (
  SELECT
    `t3`.`age`,
    `t3`.`workclass`,
    `t3`.`functional_weight`,
    `t3`.`education`,
    `t3`.`education_num`,
    `t3`.`marital_status`,
    `t3`.`occupation`,
    `t3`.`relationship`,
    `t3`.`race`,
    `t3`.`sex`,
    `t3`.`capital_gain`,
    `t3`.`capital_loss`,
    `t3`.`hours_per_week`,
    `t3`.`native_country`,
    `t3`.`income_bracket`,
    `t3`.`digest`,
    ROW_NUMBER() OVER (
      PARTITION BY `t3`.`digest`
      ORDER BY `t3`.`marital_status` ASC, `t3`.`income_bracket` ASC
    ) - 1 AS `number`
  FROM (
    SELECT
      `t2`.`age`,
      `t2`.`workclass`,
      `t2`.`functional_weight`,
      `t2`.`education`,
      `t2`.`education_num`,
      `t2`.`marital_status`,
      `t2`.`occupation`,
      `t2`.`relationship`,
      `t2`.`race`,
      `t2`.`sex`,
      `t2`.`capital_gain`,
      `t2`.`capital_loss`,
      `t2`.`hours_per_week`,
      `t2`.`native_country`,
      `t2`.`income_bracket`,
      TO_HEX(
        SHA256(
          ARRAY_TO_STRING(
            [
              CAST(`t2`.`age` AS STRING),
              `t2`.`workclass`,
              CAST(`t2`.`functional_weight` AS STRING),
              `t2`.`education`,
              CAST(`t2`.`education_num` AS STRING),
              `t2`.`occupation`,
              `t2`.`relationship`,
              `t2`.`race`,
              `t2`.`sex`,
              CAST(`t2`.`capital_gain` AS STRING),
              CAST(`t2`.`capital_loss` AS STRING),
              CAST(`t2`.`hours_per_week` AS STRING),
              `t2`.`native_country`
            ],
            '\x1f'
          )
        )
      ) AS `digest`
    FROM (
      SELECT DISTINCT
        *
      FROM (
        SELECT
          `t0`.`age`,
          NULLIF(TRIM(`t0`.`workclass`, ' \t\n\r\v\f'), '') AS `workclass`,
          `t0`.`functional_weight`,
          NULLIF(TRIM(`t0`.`education`, ' \t\n\r\v\f'), '') AS `education`,
          `t0`.`education_num`,
          NULLIF(TRIM(`t0`.`marital_status`, ' \t\n\r\v\f'), '') AS `marital_status`,
          NULLIF(TRIM(`t0`.`occupation`, ' \t\n\r\v\f'), '') AS `occupation`,
          NULLIF(TRIM(`t0`.`relationship`, ' \t\n\r\v\f'), '') AS `relationship`,
          NULLIF(TRIM(`t0`.`race`, ' \t\n\r\v\f'), '') AS `race`,
          NULLIF(TRIM(`t0`.`sex`, ' \t\n\r\v\f'), '') AS `sex`,
          `t0`.`capital_gain`,
          `t0`.`capital_loss`,
          `t0`.`hours_per_week`,
          NULLIF(TRIM(`t0`.`native_country`, ' \t\n\r\v\f'), '') AS `native_country`,
          NULLIF(TRIM(`t0`.`income_bracket`, ' \t\n\r\v\f'), '') AS `income_bracket`
        FROM `project`.`dataset`.`raw` AS `t0`
      ) AS `t1`
      WHERE
        (
          `t1`.`age` IS NOT NULL
        )
        AND (
          `t1`.`workclass` IS NOT NULL
        )
        AND (
          `t1`.`functional_weight` IS NOT NULL
        )
        AND (
          `t1`.`education` IS NOT NULL
        )
        AND (
          `t1`.`education_num` IS NOT NULL
        )
        AND (
          `t1`.`marital_status` IS NOT NULL
        )
        AND (
          `t1`.`occupation` IS NOT NULL
        )
        AND (
          `t1`.`relationship` IS NOT NULL
        )
        AND (
          `t1`.`race` IS NOT NULL
        )
        AND (
          `t1`.`sex` IS NOT NULL
        )
        AND (
          `t1`.`capital_gain` IS NOT NULL
        )
        AND (
          `t1`.`capital_loss` IS NOT NULL
        )
        AND (
          `t1`.`hours_per_week` IS NOT NULL
        )
        AND (
          `t1`.`native_country` IS NOT NULL
        )
        AND (
          `t1`.`income_bracket` IS NOT NULL
        )
    ) AS `t2`
  ) AS `t3`
) AS `t4`
