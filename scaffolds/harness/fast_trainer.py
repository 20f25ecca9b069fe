# Copyright (c) 2026, NVIDIA CORPORATION.  All rights reserved.
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""A Trainer whose steps do only what they must.

Where a GPU computes faster than Python hands it work, every millisecond of Python between two steps is lost.
transformers' Trainer walks through all modules of the model four times a step (5.23: for train(), for clipping, to
count operations that nobody asked for, to clear gradients), and a model with LoRA has thousands of them.

This is the one place that overrides private methods of transformers. Where one is not as it was seen in 5.23, both
stay as they are there: the same training, slower.
"""

import inspect

from transformers import Trainer

# Method -> its parameters, as seen in transformers 5.23.
SEEN = {
    "_prepare_for_training": ["self", "max_steps", "train_dataloader", "resume_from_checkpoint"],
    "_clip_grad_norm": ["self", "model"],
}


def as_seen(trainer_class):
    """Whether the class has the methods of SEEN, with these parameters."""
    found = {name: getattr(trainer_class, name, None) for name in SEEN}
    return all(
        callable(found[name]) and list(inspect.signature(found[name]).parameters) == SEEN[name] for name in SEEN
    )


class FastTrainer(Trainer):
    """Trains the same as a Trainer: the same gradients, clipped the same, applied the same."""

    trained = None  # the parameters that learn; None: as the Trainer does it

    def floating_point_ops(self, inputs):
        return 0

    if as_seen(Trainer):

        def _prepare_for_training(self, max_steps, train_dataloader, resume_from_checkpoint):
            found = super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
            if isinstance(found, tuple) and isinstance(found[0], type(self.model_wrapped)):
                self.walk_once(found[0])
            return found

        def _clip_grad_norm(self, model):
            if self.trained is None:
                return super()._clip_grad_norm(model)
            return self.accelerator.clip_grad_norm_(self.trained, self.args.max_grad_norm)

    def walk_once(self, model):
        """Keep the parameters that learn, and spare the model's modules a walk that changes nothing."""
        inner, walk = self.accelerator.unwrap_model(model), model.train
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        model.train = lambda mode=True: model if inner.training == model.training == mode else walk(mode)
        model.zero_grad = self.optimizer.zero_grad
