MERGE INTO `project.dataset.census` AS old USING (
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
  CAST(CASE
    WHEN `t0`.`age` <= 29
    THEN 1
    WHEN `t0`.`age` <= 39
    THEN 2
    WHEN `t0`.`age` <= 49
    THEN 3
    WHEN `t0`.`age` <= 59
    THEN 4
    ELSE 5
  END AS INT64) AS `age_bin`,
  '20260102T030405.678901Z-0123456789abcdef' AS `snapshot_id`,
  TIMESTAMP('2026-01-02T03:04:05.678901+00:00') AS `event_timestamp`,
  TIMESTAMP('2026-01-02T03:04:06+00:00') AS `created_timestamp`
FROM `project`.`dataset`.`clean` AS `t0`
) AS new ON FALSE
WHEN NOT MATCHED BY SOURCE AND old.event_timestamp = TIMESTAMP '2026-01-02T03:04:05.678901+00:00' AND old.snapshot_id = '20260102T030405.678901Z-0123456789abcdef' THEN DELETE
WHEN NOT MATCHED BY TARGET THEN INSERT (`person_id`, `age`, `workclass`, `education`, `marital_status`, `occupation`, `race`, `sex`, `capital_gain`, `capital_loss`, `hours_per_week`, `native_country`, `income_bracket`, `age_bin`, `snapshot_id`, `event_timestamp`, `created_timestamp`) VALUES (`person_id`, `age`, `workclass`, `education`, `marital_status`, `occupation`, `race`, `sex`, `capital_gain`, `capital_loss`, `hours_per_week`, `native_country`, `income_bracket`, `age_bin`, `snapshot_id`, `event_timestamp`, `created_timestamp`)
