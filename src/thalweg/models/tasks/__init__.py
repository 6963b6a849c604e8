"""The built-in tasks, by what their data are; ``thalweg.task.TASKS`` lists them."""
