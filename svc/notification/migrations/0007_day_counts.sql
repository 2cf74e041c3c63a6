-- What was used of quotas is in day_counts, as for every service.
DROP TABLE quotas;
