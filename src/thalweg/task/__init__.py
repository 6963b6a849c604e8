"""What does a user hand in, and how is it found by name? Imports no torch."""

from thalweg.task.builtin import TASKS
from thalweg.task.loading import load_task, task_data, task_source
from thalweg.task.recipe import Recipe
from thalweg.task.task import Task

__all__ = ["TASKS", "Recipe", "Task", "load_task", "task_data", "task_source"]
