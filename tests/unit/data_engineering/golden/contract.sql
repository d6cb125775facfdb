SELECT
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok0`, FALSE)
  ) AS INT64)) AS `n0`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok1`, FALSE)
  ) AS INT64)) AS `n1`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok2`, FALSE)
  ) AS INT64)) AS `n2`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok3`, FALSE)
  ) AS INT64)) AS `n3`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok4`, FALSE)
  ) AS INT64)) AS `n4`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok5`, FALSE)
  ) AS INT64)) AS `n5`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok6`, FALSE)
  ) AS INT64)) AS `n6`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok7`, FALSE)
  ) AS INT64)) AS `n7`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok8`, FALSE)
  ) AS INT64)) AS `n8`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok9`, FALSE)
  ) AS INT64)) AS `n9`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok10`, FALSE)
  ) AS INT64)) AS `n10`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok11`, FALSE)
  ) AS INT64)) AS `n11`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok12`, FALSE)
  ) AS INT64)) AS `n12`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok13`, FALSE)
  ) AS INT64)) AS `n13`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok14`, FALSE)
  ) AS INT64)) AS `n14`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok15`, FALSE)
  ) AS INT64)) AS `n15`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok16`, FALSE)
  ) AS INT64)) AS `n16`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok17`, FALSE)
  ) AS INT64)) AS `n17`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok18`, FALSE)
  ) AS INT64)) AS `n18`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok19`, FALSE)
  ) AS INT64)) AS `n19`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok20`, FALSE)
  ) AS INT64)) AS `n20`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok21`, FALSE)
  ) AS INT64)) AS `n21`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok22`, FALSE)
  ) AS INT64)) AS `n22`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok23`, FALSE)
  ) AS INT64)) AS `n23`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok24`, FALSE)
  ) AS INT64)) AS `n24`,
  SUM(CAST(NOT (
    COALESCE(`t1`.`ok25`, FALSE)
  ) AS INT64)) AS `n25`
FROM (
  SELECT
    `t0`.`person_id`,
    `t0`.`age`,
    `t0`.`workclass`,
    `t0`.`education`,
    `t0`.`marital_status`,
    `t0`.`occupation`,
    `t0`.`race`,
    `t0`.`sex`,
    `t0`.`capital_gain`,
    `t0`.`capital_loss`,
    `t0`.`hours_per_week`,
    `t0`.`native_country`,
    `t0`.`income_bracket`,
    `t0`.`age` BETWEEN 17 AND 100 AS `ok0`,
    `t0`.`capital_gain` BETWEEN 0 AND 99999 AS `ok1`,
    `t0`.`capital_loss` BETWEEN 0 AND 99999 AS `ok2`,
    `t0`.`hours_per_week` BETWEEN 1 AND 99 AS `ok3`,
    `t0`.`workclass` IN (
      'Private',
      'Self-emp-not-inc',
      'Self-emp-inc',
      'Federal-gov',
      'Local-gov',
      'State-gov',
      'Without-pay',
      'Never-worked',
      'Unknown'
    ) AS `ok4`,
    `t0`.`education` IN (
      'Bachelors',
      'Some-college',
      '11th',
      'HS-grad',
      'Prof-school',
      'Assoc-acdm',
      'Assoc-voc',
      '9th',
      '7th-8th',
      '12th',
      'Masters',
      '1st-4th',
      '10th',
      'Doctorate',
      '5th-6th',
      'Preschool'
    ) AS `ok5`,
    `t0`.`marital_status` IN (
      'Married-civ-spouse',
      'Divorced',
      'Never-married',
      'Separated',
      'Widowed',
      'Married-spouse-absent',
      'Married-AF-spouse'
    ) AS `ok6`,
    `t0`.`occupation` IN (
      'Tech-support',
      'Craft-repair',
      'Other-service',
      'Sales',
      'Exec-managerial',
      'Prof-specialty',
      'Handlers-cleaners',
      'Machine-op-inspct',
      'Adm-clerical',
      'Farming-fishing',
      'Transport-moving',
      'Priv-house-serv',
      'Protective-serv',
      'Armed-Forces',
      'Unknown'
    ) AS `ok7`,
    `t0`.`race` IN ('White', 'Asian-Pac-Islander', 'Amer-Indian-Eskimo', 'Other', 'Black') AS `ok8`,
    `t0`.`sex` IN ('Female', 'Male') AS `ok9`,
    `t0`.`native_country` IN (
      'United-States',
      'Cambodia',
      'England',
      'Puerto-Rico',
      'Canada',
      'Germany',
      'Outlying-US(Guam-USVI-etc)',
      'India',
      'Japan',
      'Greece',
      'South',
      'China',
      'Cuba',
      'Iran',
      'Honduras',
      'Philippines',
      'Italy',
      'Poland',
      'Jamaica',
      'Vietnam',
      'Mexico',
      'Portugal',
      'Ireland',
      'France',
      'Dominican-Republic',
      'Laos',
      'Ecuador',
      'Taiwan',
      'Haiti',
      'Columbia',
      'Hungary',
      'Guatemala',
      'Nicaragua',
      'Scotland',
      'Thailand',
      'Yugoslavia',
      'El-Salvador',
      'Trinadad&Tobago',
      'Peru',
      'Hong',
      'Holand-Netherlands',
      'Unknown'
    ) AS `ok10`,
    `t0`.`income_bracket` IN ('>50K', '<=50K') AS `ok11`,
    `t0`.`person_id` IS NOT NULL AS `ok12`,
    `t0`.`age` IS NOT NULL AS `ok13`,
    `t0`.`workclass` IS NOT NULL AS `ok14`,
    `t0`.`education` IS NOT NULL AS `ok15`,
    `t0`.`marital_status` IS NOT NULL AS `ok16`,
    `t0`.`occupation` IS NOT NULL AS `ok17`,
    `t0`.`race` IS NOT NULL AS `ok18`,
    `t0`.`sex` IS NOT NULL AS `ok19`,
    `t0`.`capital_gain` IS NOT NULL AS `ok20`,
    `t0`.`capital_loss` IS NOT NULL AS `ok21`,
    `t0`.`hours_per_week` IS NOT NULL AS `ok22`,
    `t0`.`native_country` IS NOT NULL AS `ok23`,
    `t0`.`income_bracket` IS NOT NULL AS `ok24`,
    COUNT(*) OVER (
      PARTITION BY `t0`.`person_id`
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) = 1 AS `ok25`
  FROM `project`.`dataset`.`clean` AS `t0`
) AS `t1`
