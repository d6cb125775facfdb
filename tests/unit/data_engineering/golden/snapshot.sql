SELECT
  *
FROM `project`.`dataset`.`census` AS `t0`
WHERE
  `t0`.`event_timestamp` = TIMESTAMP('2026-01-02T03:04:05.678901+00:00')
  AND `t0`.`snapshot_id` = '20260102T030405.678901Z-0123456789abcdef'
