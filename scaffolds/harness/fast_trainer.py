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
"""

from transformers import Trainer


class FastTrainer(Trainer):
    """Trains the same as a Trainer: the same gradients, clipped the same, applied the same."""

    def _prepare_for_training(self, *args, **more):
        model, loader = super()._prepare_for_training(*args, **more)
        inner, walk = self.accelerator.unwrap_model(model), model.train
        self.trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        model.train = lambda mode=True: model if inner.training == model.training == mode else walk(mode)
        model.zero_grad = self.optimizer.zero_grad
        return model, loader

    def _clip_grad_norm(self, model):
        return self.accelerator.clip_grad_norm_(self.trained, self.args.max_grad_norm)

    def floating_point_ops(self, inputs):
        return 0
