SELECT
  `t2`.`id` AS `person_id`,
  `t2`.`age`,
  IF(`t2`.`workclass` = '?', 'Unknown', `t2`.`workclass`) AS `workclass`,
  `t2`.`education`,
  `t2`.`marital_status`,
  IF(`t2`.`occupation` = '?', 'Unknown', `t2`.`occupation`) AS `occupation`,
  `t2`.`race`,
  `t2`.`sex`,
  `t2`.`capital_gain`,
  `t2`.`capital_loss`,
  `t2`.`hours_per_week`,
  IF(`t2`.`native_country` = '?', 'Unknown', `t2`.`native_country`) AS `native_country`,
  `t2`.`income_bracket`
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
      NULLIF(TRIM(`t0`.`income_bracket`, ' \t\n\r\v\f'), '') AS `income_bracket`,
      `t0`.`race` AS `id`
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
    AND (
      `t1`.`id` IS NOT NULL
    )
) AS `t2`
