"""An Airflow DAG: one task per day, tried again if files were still growing (75 is a failure to Airflow)."""

from datetime import datetime, timedelta

from airflow import DAG
from airflow.operators.bash import BashOperator

with DAG("agriseg", schedule="30 22 * * *", start_date=datetime(2026, 5, 1), catchup=False) as dag:
    BashOperator(
        task_id="batch",
        bash_command="agriseg batch jobs.toml -o maps --timeout 2h",
        cwd="/srv/farm",
        retries=3,
        retry_delay=timedelta(minutes=15),
    )
