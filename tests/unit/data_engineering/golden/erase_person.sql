DELETE FROM `project.dataset.clean` WHERE person_id IN (
SELECT
  `t0`.`person_id`
FROM `project`.`dataset`.`clean` AS `t0`
WHERE
  `t0`.`person_id` = 'it\'s'
)
